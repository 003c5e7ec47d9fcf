type IsSecret = (name: string) => boolean

/** The parts of a form that is sent as multipart. */
export function hideInMultipart(text: string, isSecret: IsSecret, replacement: string): string {
  const head = /form-data;\s{0,8}(?:filename=(?:\\{0,8}"[^"\r\n]{0,256}"|[^\s;"]{0,256});\s{0,8})?name=\\{0,8}["']?/g
  let out = ''
  let kept = 0
  for (let found = head.exec(text); found !== null; found = head.exec(text)) {
    const nameEnd = endOfName(text, head.lastIndex)
    if (found.index < kept || !isSecret(text.slice(head.lastIndex, nameEnd))) continue
    // In a text that was printed, line breaks are letters behind slashes.
    const bodyAt = /(?:\r?\n){2}|(?:(?:\\{1,8}r)?\\{1,8}n){2}/g
    bodyAt.lastIndex = nameEnd
    const blank = bodyAt.exec(text)
    if (blank === null) break
    const from = blank.index + blank[0].length
    const end = endOfPart(text, from)
    out += text.slice(kept, from) + replacement
    kept = end
  }
  return kept === 0 ? text : out + text.slice(kept)
}

function endOfName(text: string, from: number): number {
  const end = /["'\\\r\n;]/g
  end.lastIndex = from
  return end.exec(text)?.index ?? text.length
}

function endOfPart(text: string, from: number): number {
  const end = /(?:\n|\\n)--/g
  end.lastIndex = from
  return end.exec(text)?.index ?? text.length
}
