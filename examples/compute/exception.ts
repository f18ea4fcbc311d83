// nova.exception: what the layers under the API throw. They know nothing of HTTP except
// a code; Resource and FaultWrapper (wsgi.ts, fault.ts) turn them into answers.

/** Base of all; `safe` says that a client may read the message. */
export class NovaException extends Error {
  readonly code: number = 500
  readonly safe: boolean = false

  constructor(message = 'An unknown exception occurred.') {
    super(message)
    this.name = new.target.name
  }
}

/** Something in the request cannot be right. Resource answers with code and message. */
export class Invalid extends NovaException {
  override readonly code: number = 400
}

/** A value that failed a check of validation.ts. */
export class ValidationError extends Invalid {}

/** The body is not JSON, or not of the shape that an action needs. */
export class MalformedRequestBody extends Invalid {
  constructor(message = 'Malformed request body') { super(message) }
}

/** A Content-Type that this API does not read. */
export class InvalidContentType extends Invalid {
  override readonly code: number = 415

  constructor(message = 'Unsupported Content-Type') { super(message) }
}

/** A microversion that is not MAJOR.MINOR. */
export class InvalidAPIVersionString extends Invalid {
  constructor(version: string) {
    super(`API Version String ${version} is of invalid format. ` +
      'Must be of format MajorNum.MinorNum.')
  }
}

/** A microversion outside of what the API speaks. */
export class InvalidGlobalAPIVersion extends Invalid {
  override readonly code: number = 406

  constructor(wanted: string, min: string, max: string) {
    super(`Version ${wanted} is not supported by the API. ` +
      `Minimum is ${min} and maximum is ${max}.`)
  }
}

/** What this deployment cannot do. */
export class NotSupported extends NovaException {
  override readonly code: number = 400
}

/** The caller is known, and may not. */
export class Forbidden extends NovaException {
  override readonly code: number = 403
}

/** There would be more of something than a project or a user may have. */
export class QuotaError extends Forbidden {}

/** The caller is not known. */
export class Unauthorized extends NovaException {
  override readonly code: number = 401
}

/** A thing of that name does not exist. */
export class NotFound extends NovaException {
  override readonly code: number = 404
}

/** Not now: the thing is in another state, or the name is taken. */
export class Conflict extends NovaException {
  override readonly code: number = 409
}
