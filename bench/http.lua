-- What wrk asks for in http.mjs. The arguments are the method and the body; a path that
-- ends in /0 is asked for with a thousand different ids.
local requests, turn = {}, 0

function init(args)
  wrk.method, wrk.body = args[1], args[2]
  for id = 0, 999 do
    requests[id] = wrk.format(nil, (wrk.path:gsub('/0$', '/' .. id)))
  end
end

function request()
  turn = (turn + 1) % 1000
  return requests[turn]
end
