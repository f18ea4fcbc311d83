// The filters of the pipelines that are not about identity: request ids and sizes.

import {
  HTTPException, RequestBodySizeLimiter, RequestId,
  type Body, type Environ, type Request, type StartResponse,
} from '../../mini-wsgi.ts'
import { Fault } from './fault.ts'

const OLD_NAME = 'x-compute-request-id'

/** [filter:compute_req_id]: the id also under the name that nova had for it before. */
export class ComputeReqIdMiddleware extends RequestId {
  override __call__(environ: Environ, start: StartResponse): Body | Promise<Body> {
    return super.__call__(environ, (status, headers, excInfo) => {
      const has = headers.some(([name]) => name.toLowerCase() === OLD_NAME)
      const id = String(environ['openstack.request_id'])
      return start(status, has ? headers : [...headers, [OLD_NAME, id]], excInfo)
    })
  }
}

/** [filter:sizelimit]: the 413 is a fault, so that clients of the API can read it. */
export class SizeLimit extends RequestBodySizeLimiter {
  override processRequest(req: Request): unknown {
    const early = super.processRequest(req)
    return early instanceof HTTPException ? new Fault(early) : early
  }
}
