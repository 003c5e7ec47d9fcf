/** How values travel through l2. A value that went through it is what every caller sees, also the one whose factory made it. */
export interface Serializer {
  /** Part of the stored envelope: entries written by another serializer are misses. No spaces. */
  readonly name: string
  encode(value: unknown): string
  decode(body: string): unknown
}

/** JSON: dates become strings, Map and Set become {}, NaN becomes null, BigInt and cycles throw. */
export const jsonSerializer: Serializer = {
  name: 'json',
  encode(value) {
    const body = JSON.stringify(value) as string | undefined
    if (body === undefined) throw new TypeError('the value has no JSON form')
    return body
  },
  decode: (body) => JSON.parse(body) as unknown,
}
