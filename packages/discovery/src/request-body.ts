import { FormData as UndiciFormData, type RequestInit as UndiciRequestInit } from 'undici'

type Body = UndiciRequestInit['body']

/** undici knows its own FormData only, not the one of the runtime. `onFailure` hears of a stream that fails while it is sent. */
export function toUndiciBody(body: unknown, onFailure: () => void): Body {
  if (!isReplayable(body)) return watched(body as AsyncIterable<Uint8Array>, onFailure)
  if (!(body instanceof FormData)) return body as Body
  const form = new UndiciFormData()
  for (const [name, value] of body) form.append(name, value)
  return form
}

/** A stream can be sent once; everything else lies in memory and can be sent again. */
export function isReplayable(body: unknown): boolean {
  return typeof body !== 'object' || body === null || !(body instanceof ReadableStream || Symbol.asyncIterator in body)
}

async function* watched(body: AsyncIterable<Uint8Array>, onFailure: () => void): AsyncGenerator<Uint8Array> {
  try {
    yield* body
  } catch (error) {
    onFailure()
    throw error
  }
}
