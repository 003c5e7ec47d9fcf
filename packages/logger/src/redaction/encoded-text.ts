type Hide = (text: string) => string

const entities: readonly (readonly [entity: string, character: string])[] = [
  ['&quot;', '"'],
  ['&#34;', '"'],
  ['&#39;', "'"],
  ['&apos;', "'"],
  ['&lt;', '<'],
  ['&gt;', '>'],
]

/** `{"`, `{ "` or `["` and what follows, in base64 of both alphabets; the parts of a web token have a dot behind them. */
const base64Json = /(?<![\w+/-])(?:ey[JA]|W3s)[\w+/-]{13,65536}={0,2}(?![\w.+/=-])/g

/** A text that was written for a page, in base64, or percent-encoded twice, is read as what it says. One without a secret stays as it is. */
export function hideInEncoded(text: string, hide: Hide): string {
  const plain = text.replaceAll(base64Json, (found) => hideInBase64(found, hide))
  const clean = entities.some(([entity]) => plain.includes(entity)) ? hideInEscaped(plain, hide) : plain
  return clean.includes('%25')
    ? clean
        .split(/(\s+)/)
        .map((word) => hideInEncodedTwice(word, hide))
        .join('')
    : clean
}

function hideInEscaped(text: string, hide: Hide): string {
  const used = entities.filter(([entity]) => text.includes(entity))
  const plain = used.reduce((decoded, [entity, character]) => decoded.replaceAll(entity, character), text)
  const clean = hide(plain)
  return clean === plain ? text : used.reduce((encoded, [entity, character]) => encoded.replaceAll(character, entity), clean)
}

function hideInBase64(text: string, hide: Hide): string {
  const plain = Buffer.from(text, 'base64').toString()
  const clean = hide(plain)
  return clean === plain ? text : Buffer.from(clean).toString('base64')
}

function hideInEncodedTwice(word: string, hide: Hide): string {
  if (!word.includes('%25')) return word
  const once = word.replaceAll('%25', '%')
  const clean = hide(once)
  return clean === once ? word : clean.replaceAll('%', '%25')
}
