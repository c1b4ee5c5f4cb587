-- wrk: authenticated requests of clients who think a while between two, so that the load is far from
-- saturating: what waits, waits for somebody else.
local headers = { ["Host"] = os.getenv("HOST_HEADER"), ["Authorization"] = "Bearer " .. os.getenv("TOKEN") }
request = function() return wrk.format("GET", "/app/items", headers) end
delay = function() return math.random(5, 15) end
