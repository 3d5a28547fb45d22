-- This script makes the requests for wrk.sh. Its arguments are hit or miss, and the run's number.
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("thread", threads)
end

function init(args)
  miss, run, n = args[1] == "miss", args[2], 0
end

function request()
  local token = "IGAA-wrk-" .. run
  if miss then
    n = n + 1
    token = token .. "-" .. thread .. "-" .. n
  end
  return wrk.format("GET", "/access_token?grant_type=ig_exchange_token&access_token=" .. token)
end

function done(summary)
  local e = summary.errors
  if summary.requests == 0 or e.connect + e.read + e.write + e.status + e.timeout > 0 then
    io.write("failed: some requests got no token\n")
    os.exit(1)
  end
end
