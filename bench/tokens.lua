-- wrk: browser-like requests, each with the next of the tokens in $TOKENS (none if unset). With $THINK each client
-- thinks for about so many ms between two, so that the load is the same for whoever answers.
local tokens, at = {}, 0
local path = os.getenv("BENCH_PATH")
local file = os.getenv("TOKENS")
if file then
  for line in io.lines(file) do tokens[#tokens + 1] = "Bearer " .. line end
end
local headers = {
  ["Host"] = os.getenv("HOST_HEADER"),
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
  ["Accept"] = "application/json, text/plain, */*",
  ["Accept-Language"] = "en-GB,en;q=0.7,de;q=0.3",
  ["Accept-Encoding"] = "gzip, deflate, br, zstd",
  ["Referer"] = "https://localhost/app/list",
  ["Sec-Fetch-Dest"] = "empty", ["Sec-Fetch-Mode"] = "cors", ["Sec-Fetch-Site"] = "same-origin",
}
request = function()
  if #tokens > 0 then
    at = at % #tokens + 1
    headers["Authorization"] = tokens[at]
  end
  return wrk.format("GET", path, headers)
end
local think = tonumber(os.getenv("THINK") or "")
if think then
  delay = function() return math.random(think / 2, think * 3 / 2) end
end
