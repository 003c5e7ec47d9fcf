/** Secrets whose looks tell what they are, without a name beside them. */

const token = /\bbearer\s+[\w.~+/=-]{8,}/gi
const basic = /\b(basic\s+)([A-Za-z0-9+/]{8,}={0,2})/gi
const jsonWebToken = /\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?/g
/** GitHub, GitLab, Slack, Stripe, npm, AWS. */
const issued =
  /\b(?:gh[posur]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeprs]-[\w-]{10,}|[sr]k_live_\w{10,}|npm_\w{30,}|AKIA[A-Z0-9]{16})\b/g
const privateKey = /-----BEGIN [A-Z ]*PRIVATE KEY-----/g
const mayHold = /bearer\s|basic\s|eyJ|gh[posur]_|github_pat_|glpat-|xox|_live_|npm_|AKIA|PRIVATE KEY/i

export function hideByForm(text: string, replacement: string): string {
  const clean = text.includes('://') ? hideCredentials(text, '://', ':', '@', replacement) : text
  const encoded = clean.includes('%40') ? hideEncodedCredentials(clean, replacement) : clean
  if (encoded.length < 12 || !mayHold.test(encoded)) return encoded
  return hidePrivateKeys(encoded, replacement)
    .replaceAll(token, (found) => `${found.slice(0, 7)}${replacement}`)
    .replaceAll(basic, (found, scheme: string, data: string) =>
      Buffer.from(data, 'base64').includes(58) ? `${scheme}${replacement}` : found,
    )
    .replaceAll(jsonWebToken, replacement)
    .replaceAll(issued, replacement)
}

function hideEncodedCredentials(text: string, replacement: string): string {
  const upper = hideCredentials(text, '%3A%2F%2F', '%3A', '%40', replacement)
  return hideCredentials(upper, '%3a%2f%2f', '%3a', '%40', replacement)
}

/** Ends of an URL in a text. */
const around = /[\s"'<>\\`|]/g
/** Of an URL, what may be its user and password. */
const longestAuthority = 4_096

/** `scheme://user:password@host`, also where the password holds `/` or `@`; behind `http`, a user alone is a token too. */
function hideCredentials(text: string, start: string, colon: string, at: string, replacement: string): string {
  let out = ''
  let kept = 0
  for (let index = text.indexOf(start); index >= 0; index = text.indexOf(start, index + 1)) {
    const from = index + start.length
    if (from < kept) continue
    around.lastIndex = from
    const end = around.exec(text)?.index ?? text.length
    const rest = text.slice(from, Math.min(end, from + longestAuthority))
    if (!rest.includes(at)) {
      index = Math.min(end, from + longestAuthority) - 1
      continue
    }
    const isWeb = /https?$|wss?$/i.test(text.slice(Math.max(0, index - 5), index))
    const hidden = credentials(rest, colon, at, isWeb)
    if (hidden === undefined) continue
    out += text.slice(kept, from + hidden.from) + replacement
    kept = from + hidden.to
  }
  return kept === 0 ? text : out + text.slice(kept)
}

function credentials(rest: string, colon: string, at: string, isWeb: boolean): { from: number; to: number } | undefined {
  const query = rest.search(/[?#]/)
  const address = query < 0 ? rest : rest.slice(0, query)
  const authority = address.split('/', 1)[0]!
  const separator = authority.indexOf(colon)
  const isPort = separator >= 0 && /^\d{1,5}$/.test(authority.slice(separator + colon.length))
  // A slash that is not encoded stands in the password when what it ends is no address.
  const reaches = separator >= 0 && !authority.includes(at) && !(isWeb && isPort) ? rest : authority
  const end = reaches.lastIndexOf(at)
  if (end < 0) return undefined
  if (isWeb) return { from: 0, to: end }
  return separator < 0 || separator > end ? undefined : { from: separator + colon.length, to: end }
}

function hidePrivateKeys(text: string, replacement: string): string {
  let out = ''
  let kept = 0
  for (const { index, 0: begin } of text.matchAll(privateKey)) {
    if (index < kept) continue
    const end = text.indexOf('-----END', index)
    const tail = end < 0 ? -1 : text.indexOf('-----', end + 8)
    out += `${text.slice(kept, index)}${begin}${replacement}`
    kept = tail < 0 ? text.length : tail + 5
  }
  return kept === 0 ? text : out + text.slice(kept)
}
