// What a body may hold (nova.api.validation, without JSON schema). Each check returns the
// value with its type, or throws a 400 that names the field and what it must be.

import { ValidationError } from './exception.ts'
import { isDict } from './json.ts'
import type { Metadata } from './store.ts'

/** A JSON object of the client: read it by own keys only. */
export type Fields = Readonly<Record<string, unknown>>

/** The object under a key: the server in `{"server": {..}}`. */
export function entity(body: unknown, name: string): Fields {
  const found = isDict(body) ? field(body, name) : undefined
  if (isDict(found)) return found
  throw wrong(name, 'an object', found)
}

export const field = (fields: Fields, name: string): unknown =>
  Object.hasOwn(fields, name) ? fields[name] : undefined

/** 1 to 255 characters that can be printed, without blanks at the ends. */
export function checkName(value: unknown, what: string): string {
  if (isText(value, 1, 255) && value.trim() === value) return value
  throw wrong(what, '1 to 255 printable characters, without blanks at the ends', value)
}

/** Free text; null and absent are null. */
export function checkText(value: unknown, what: string, max = 255): string | null {
  if (value === undefined || value === null) return null
  if (isText(value, 0, max)) return value
  throw wrong(what, `a string of at most ${max} printable characters`, value)
}

/** A whole number, or its digits as a string, as nova's clients send it. */
export function checkInteger(value: unknown, what: string, min: number, max: number):
    number {
  const isDigits = typeof value === 'string' && /^[0-9]{1,9}$/.test(value)
  const number = isDigits || Number.isInteger(value) ? Number(value) : NaN
  if (number >= min && number <= max) return number
  throw wrong(what, `an integer from ${min} to ${max}`, value)
}

/** One of a few strings. */
export function checkChoice<T extends string>(value: unknown, what: string,
    choices: readonly T[]): T {
  if (choices.includes(value as T)) return value as T
  throw wrong(what, `one of ${choices.join(', ')}`, value)
}

/** Items of metadata per server. */
export const MAX_METADATA = 128

/** nova's schema of a key. It has no slash: in a URL, it is one part of the path. */
const METADATA_KEY = /^[a-zA-Z0-9\-_:. ]{1,255}$/

/** Strings by strings, both of at most 255 characters. */
export function checkMetadata(value: unknown, what = 'metadata'): Metadata {
  if (!isDict(value)) throw wrong(what, 'an object', value)
  const pairs = Object.entries(value)
  if (pairs.length > MAX_METADATA) {
    throw new ValidationError(`${quote(what)} has ${pairs.length} items; ` +
      `at most ${MAX_METADATA} are kept.`)
  }
  return pairs.map(([key, item]) => {
    if (!METADATA_KEY.test(key)) {
      throw wrong(`a key of ${what}`, '1 to 255 of a-z, A-Z, 0-9, -, _, :, . and space', key)
    }
    if (!isText(item, 0, 255)) throw wrong(`${what}.${key}`, 'a printable string', item)
    return [key, item]
  })
}

// No control characters, no half of a surrogate pair: an answer has to carry it in UTF-8.
const isText = (value: unknown, min: number, max: number): value is string =>
  typeof value === 'string' && !/[\p{Cc}\p{Cs}]/u.test(value) &&
  value.length >= min && value.length <= max

/** A message in the form of all: what, what it must be, what it is. */
export function wrong(what: string, must: string, value: unknown): ValidationError {
  return new ValidationError(`${quote(what)} must be ${must}, not ${brief(value)}.`)
}

const quote = (name: string): string => JSON.stringify(name)

// A nested value is not repeated: 100 KB of brackets parse, and do not print.
function brief(value: unknown): string {
  if (value === undefined) return 'absent'
  if (Array.isArray(value)) return 'a list'
  if (isDict(value)) return 'an object'
  const text = JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 60)}..` : text
}
