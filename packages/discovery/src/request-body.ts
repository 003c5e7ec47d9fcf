import { FormData as UndiciFormData, type RequestInit as UndiciRequestInit } from 'undici'

type Body = UndiciRequestInit['body']

/** undici knows its own FormData only, not the one of the runtime. */
export function toUndiciBody(body: unknown): Body {
  if (!(body instanceof FormData)) return body as Body
  const form = new UndiciFormData()
  for (const [name, value] of body) form.append(name, value)
  return form
}

/** A stream can be sent once; everything else lies in memory and can be sent again. */
export function isReplayable(body: unknown): boolean {
  return typeof body !== 'object' || body === null || !(body instanceof ReadableStream || Symbol.asyncIterator in body)
}
