-- Posts text after text, the sequence of texts.Texts from a given place on, and tells the result as JSON.
-- wrk ... -- FIRSTS CONTEXTS START

local function lines(path)
  local found = {}
  for line in io.lines(path) do found[#found + 1] = line end
  return found
end

function init(args)
  firsts, contexts, index = lines(args[1]), lines(args[2]), tonumber(args[3])
end

function request()
  local place = index % #contexts
  local lap = (index - place) / #contexts
  index = index + 1
  local body = '{"inputs": ["' .. firsts[(lap + place) % #firsts + 1] .. contexts[place + 1] .. '"]}'
  return wrk.format("POST", "/v1/predict", { ["Content-Type"] = "application/json" }, body)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %.6f, "p50": %.6f, "p90": %.6f, "p99": %.6f, "max": %.6f, ' ..
    '"refused_or_failed": %d, "timeouts": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(90) / 1e6,
    latency:percentile(99) / 1e6, latency.max / 1e6,
    errors.status, errors.timeout, errors.connect + errors.read + errors.write))
end
