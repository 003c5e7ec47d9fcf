type IsSecret = (name: string) => boolean

/** One tag with its attributes; longer ones are none. */
const tag = /<([\w:.-]{1,128})((?:\s+[\w:.-]{1,128}(?:\s*=\s*(?:"[^"<]{0,4096}"|'[^'<]{0,4096}'|[^\s"'<>]{1,1024}))?){0,32})\s*\/?>/g
const attribute = /([\w:.-]{1,128})(\s*=\s*)("[^"]*"|'[^']*'|[^\s"']+)/g
const naming = /^(?:name|key|id|property|type)$/i
const valued = /^(?:value|content)$/i
const between = /\s{0,80}<[\w:.-]{1,128}>/y
const elementText = /(<!\[CDATA\[)?([^<]*)/y

/** XML, HTML, property lists: what stands in an element or an attribute under a secret name, or beside one that names it. */
export function hideInMarkup(text: string, isSecret: IsSecret, replacement: string): string {
  let out = ''
  let kept = 0
  // Of `<key>password</key><string>…</string>`: where the element begins whose text is a secret.
  let told = -1
  for (const found of text.matchAll(tag)) {
    const [whole, element = '', attributes = ''] = found
    if (found.index < kept) continue
    const end = found.index + whole.length
    const names = namedBy(attributes)
    const isNamed = isSecret(local(element)) || names.some(isSecret)
    const clean = names.some(isSecret) ? attributes.replaceAll(attribute, hideValued) : attributes
    out += text.slice(kept, found.index) + whole.replace(attributes, () => clean)
    kept = end
    elementText.lastIndex = end
    const [inside = '', opening = '', content = ''] = elementText.exec(text) ?? []
    if (whole.endsWith('/>') || content.trim() === '') continue
    const after = closingAfter(text, end + inside.length)
    if (!isNamed && told !== found.index) {
      between.lastIndex = after
      told = isSecret(content.trim().slice(0, 128)) && between.test(text) ? text.indexOf('<', after) : -1
      continue
    }
    out += opening + replacement
    kept = opening === '' ? end + content.length : endOfData(text, end + opening.length)
  }
  return kept === 0 ? text : out + text.slice(kept)

  function hideValued(found: string, name: string, equals: string, value: string): string {
    const quote = /^["']/.exec(value)?.[0] ?? ''
    return valued.test(name) ? `${name}${equals}${quote}${replacement}${quote}` : found
  }
}

function namedBy(attributes: string): string[] {
  return [...attributes.matchAll(attribute)]
    .filter(([, name = '']) => naming.test(name))
    .map(([, , , value = '']) => value.replaceAll(/["']/g, ''))
}

function local(element: string): string {
  return element.slice(element.indexOf(':') + 1)
}

function closingAfter(text: string, at: number): number {
  const end = text.startsWith('</', at) ? text.indexOf('>', at) : -1
  return end < 0 ? at : end + 1
}

function endOfData(text: string, from: number): number {
  const end = text.indexOf(']]>', from)
  return end < 0 ? text.length : end
}
