/** Secrets whose looks tell what they are, without a name beside them. */

const token = /\bbearer\s+[\w.~+/=-]{8,}/gi
const basic = /\b(basic\s+)([A-Za-z0-9+/]{8,}={0,2})/gi
/** Signed, of three parts, or encrypted, of five, of which the second may be empty. */
const jsonWebToken = /\beyJ[\w-]{8,}\.(?:[\w-]{8,}|(?=\.[\w-]{8,}))(?:\.[\w-]*){0,3}/g
/** Tokens whose issuers made them easy to find. */
const issued = new RegExp(
  String.raw`\b(?:${[
    String.raw`gh[posur]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeprs]-[\w-]{10,}|xapp-[\w-]{10,}|[sr]k_(?:live|test)_\w{10,}|whsec_[\w+/=]{16,}`,
    String.raw`npm_\w{30,}|pypi-[\w-]{16,}|dckr_pat_[\w-]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|ya29\.[\w-]{20,}|hf_[A-Za-z0-9]{20,}`,
    String.raw`sk-(?:proj-|ant-|svcacct-)?[\w-]{20,}|SG\.[\w-]{16,}\.[\w-]{16,}|hv[sb]\.[\w-]{16,}|do[opr]_v1_\w{32,}|shp(?:at|ca|pa|ss)_\w{20,}|SK[0-9a-f]{32}`,
  ].join('|')})(?![\w-])`,
  'g',
)
/** `user:password@host:port` without a scheme, `user:password@tcp(host)`. */
const bareCredentials =
  /(?<![\w/.])([\w.-]{1,64}:)(?:[^\s@/:"']{1,256}|[^\s/"',;&]{1,256})(?=@(?:[\w.-]{1,253}:\d{1,5}(?!\w)|(?:tcp6?|unix)\())/g
/** `user/password@host` of Oracle. */
const oracleCredentials = /(jdbc:oracle:\w{1,8}:[\w$#]{1,64}\/)[^\s@"']{1,256}(?=@)/g
/** What makes an address a permission, with its date of expiry. */
const signedAddress = /([?&]signature=)[^&\s"'<>#]+/gi
/** A file in PEM, in base64 once more. */
const encodedFile = /\bLS0tLS1CRUdJTi[A-Za-z0-9+/]{16,}={0,2}/g
/** A card's number in its groups; its last digit is the sum of the others. */
const card = /\b[3-6]\d{3}([ -])\d{4}\1\d{4}\1\d{4}\b/g
/** Addresses that are themselves the secret: whoever knows one may post. */
const webhook =
  /(hooks\.slack\.com\/(?:services|workflows)\/|discord(?:app)?\.com\/api\/webhooks\/\d+\/|api\.telegram\.org\/bot\d+:)[\w/-]{8,}/g
const privateKey = /-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|^Private-Lines: \d+/gm
const mayHold =
  /bearer\s|basic\s|eyJ|gh[posur]_|_pat_|glpat-|xox|xapp-|k_(?:live|test)_|whsec_|npm_|pypi-|AKIA|ASIA|AIza|ya29|hf_|sk-|SG\.|hv[sb]\.|_v1_|shp|SK[0-9a-f]{8}|PRIVATE KEY|Private-Lines|hooks\.slack|webhooks|telegram|signature=|LS0tLS1CRUdJTi|\d{4}[ -]\d{4}[ -]\d{4}/i

export function hideByForm(text: string, replacement: string): string {
  const clean = text.includes('//') ? hideCredentials(text, '//', ':', '@', replacement) : text
  const bare = clean.includes('@')
    ? clean
        .replaceAll(bareCredentials, (_, user: string) => user + replacement)
        .replaceAll(oracleCredentials, (_, user: string) => user + replacement)
    : clean
  const encoded = bare.includes('%40') ? hideEncodedCredentials(bare, replacement) : bare
  if (encoded.length < 12 || !mayHold.test(encoded)) return encoded
  return hidePrivateKeys(encoded, replacement)
    .replaceAll(token, (found) => `${found.slice(0, 7)}${replacement}`)
    .replaceAll(basic, (found, scheme: string, data: string) =>
      Buffer.from(data, 'base64').includes(58) ? `${scheme}${replacement}` : found,
    )
    .replaceAll(jsonWebToken, replacement)
    .replaceAll(issued, replacement)
    .replaceAll(card, (found) => (isCard(found) ? replacement : found))
    .replaceAll(signedAddress, (_, name: string) => name + replacement)
    .replaceAll(encodedFile, (found) => (Buffer.from(found.slice(0, 80), 'base64').includes('PRIVATE KEY') ? replacement : found))
    .replaceAll(webhook, (_, address: string) => address + replacement)
}

/** The check of ISO/IEC 7812. */
function isCard(number: string): boolean {
  const digits = number.replaceAll(/\D/g, '')
  const sum = digits.split('').reduce((total, digit, index) => {
    const weighted = Number(digit) * (index % 2 === 0 ? 2 : 1)
    return total + (weighted > 9 ? weighted - 9 : weighted)
  }, 0)
  return sum % 10 === 0
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
    const isWeb = /(?:https?|wss?):$/i.test(text.slice(Math.max(0, index - 6), index))
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
