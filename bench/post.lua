-- wrk: POST the images named in BENCH_IMAGES (one path per line) as raw bodies, round robin.
local requests = {}
init = function()
  for path in os.getenv("BENCH_IMAGES"):gmatch("[^\n]+") do
    local file = io.open(path, "rb")
    requests[#requests + 1] = wrk.format("POST", "/v1/classify", {["Content-Type"] = "image/jpeg"}, file:read("*a"))
    file:close()
  end
end
local count = 0
request = function()
  count = count + 1
  return requests[(count - 1) % #requests + 1]
end
