type Hide = (text: string) => string

const entities: readonly (readonly [entity: string, character: string])[] = [
  ['&quot;', '"'],
  ['&#34;', '"'],
  ['&#39;', "'"],
  ['&apos;', "'"],
  ['&lt;', '<'],
  ['&gt;', '>'],
]

/** A text that was written for a page, or percent-encoded twice, is read as what it says. One without a secret stays as it is. */
export function hideInEncoded(text: string, hide: Hide): string {
  const clean = entities.some(([entity]) => text.includes(entity)) ? hideInEscaped(text, hide) : text
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

function hideInEncodedTwice(word: string, hide: Hide): string {
  if (!word.includes('%25')) return word
  const once = word.replaceAll('%25', '%')
  const clean = hide(once)
  return clean === once ? word : clean.replaceAll('%', '%25')
}
