-- wrk: one login after the other, going round the accounts of $ACCOUNTS.
local count, at = tonumber(os.getenv("ACCOUNTS")), 0
request = function()
  at = at % count + 1
  local body = '{"email":"p' .. at .. '@example.com","password":"correct horse battery staple"}'
  return wrk.format("POST", "/auth/v1/login",
    { ["Host"] = os.getenv("HOST_HEADER"), ["Content-Type"] = "application/json" }, body)
end
