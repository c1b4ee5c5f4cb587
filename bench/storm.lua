-- wrk: logins of strangers, each to an account of its own from an address of its own, so that only the
-- hashing budget holds them up. Clients wait about a second between two tries.
local at = tonumber(os.getenv("START"))
request = function()
  at = at + 1
  local address = string.format("198.%d.%d.%d", 18 + math.floor(at / 65536) % 2, math.floor(at / 256) % 256, at % 256)
  return wrk.format("POST", "/auth/v1/login", { ["Host"] = os.getenv("HOST_HEADER"), ["Content-Type"] = "application/json",
    ["X-Forwarded-For"] = address }, '{"email":"p' .. at .. '@example.com","password":"whatever it may be"}')
end
delay = function() return math.random(500, 1500) end
