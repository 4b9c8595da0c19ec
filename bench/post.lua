-- wrk: POST the images named in BENCH_IMAGES (one path per line) to BENCH_PATH, round robin: as raw bodies, or in
-- the field BENCH_FIELD of a form.
local requests = {}
local field = os.getenv("BENCH_FIELD") or ""
init = function()
  for path in os.getenv("BENCH_IMAGES"):gmatch("[^\n]+") do
    local file = io.open(path, "rb")
    local body, kind = file:read("*a"), "image/jpeg"
    file:close()
    if field ~= "" then
      local head = '--beholder\r\nContent-Disposition: form-data; name="' .. field .. '"; filename="a.jpg"\r\n'
      body = head .. "Content-Type: image/jpeg\r\n\r\n" .. body .. "\r\n--beholder--\r\n"
      kind = "multipart/form-data; boundary=beholder"
    end
    requests[#requests + 1] = wrk.format("POST", os.getenv("BENCH_PATH"), {["Content-Type"] = kind}, body)
  end
end
local count = 0
request = function()
  count = count + 1
  return requests[(count - 1) % #requests + 1]
end
