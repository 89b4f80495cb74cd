-- Each request with the cookie of the next session. COOKIES names a file with one to a line.
local requests, at = {}, 0

function init()
  for cookie in io.lines(os.getenv("COOKIES")) do
    requests[#requests + 1] = wrk.format("GET", nil, { Cookie = cookie })
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end
