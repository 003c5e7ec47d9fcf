import type { IncomingMessage, ServerResponse } from 'node:http'
import { UnsupportedMediaTypeException } from '@nestjs/common'
import { bodyException } from './problem.ts'

/** A request with a body of a type that nobody parses would reach its handler with no body at all. */
export function onlyContentTypes(
  types: readonly string[],
): (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void) => void {
  const accepted = types.map((type) => type.toLowerCase())
  return (request, _response, next) => {
    const hasBody = request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0
    if (!hasBody || accepted.some((type) => fits(type, contentType(request)))) return next()
    next(new UnsupportedMediaTypeException(`send one of ${accepted.join(', ')}`))
  }
}

function contentType(request: IncomingMessage): string {
  return (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
}

/** `application/*+json` stands for every JSON type. */
function fits(pattern: string, type: string): boolean {
  const star = pattern.indexOf('*')
  if (star < 0) return pattern === type
  return type.length >= pattern.length && type.startsWith(pattern.slice(0, star)) && type.endsWith(pattern.slice(star + 1))
}

/** Express tells an error handler by its four parameters. Comes right behind the parsers: later on Nest makes its own exception of a SyntaxError. */
export function bodyErrors(error: unknown, _request: IncomingMessage, _response: ServerResponse, next: (error: unknown) => void): void {
  next(bodyException(error) ?? error)
}
