/** Of Redis, and of mail servers that also say AUTH. */

const given = String.raw`"(?:[^"\\\r\n]|\\.){1,1024}"|'[^'\r\n]{1,1024}'|[^\s"']{1,1024}`
const auth = new RegExp(String.raw`(\bAUTH2?[ \t]+)(${given})(?:([ \t]+)(${given}))?`, 'gi')
/** What stands before a command that was given, in any case of letters and in capitals. */
const beforeHello = /\bhello[ \t]+\d[ \t]+$/i
const beforeCommand =
  /(?:[\r\n"'`>$(] ?|\d |: |\b(?:sent|send|sending|ran|run|running|issued|executed|executing|commands?|redis|called|calling) )$/i
/** What takes one secret, or in a configuration a name and a secret. */
const setting = new RegExp(String.raw`(\b(?:requirepass|masterauth|auth-pass)[ \t]+)(${given})(?:([ \t]+)(${given}))?`, 'gi')
/** As lists are printed, and as `MONITOR` shows commands. */
const quoted = new RegExp(
  String.raw`((?:(?<=[[(][ \t\r\n]{0,8}|["']\d["'][ \t]{0,8},?[ \t\r\n]{0,8}|\][ \t])["']AUTH["']|["'](?:requirepass|masterauth)["'])[ \t]{0,8},?[ \t\r\n]{0,8})` +
    String.raw`(["'][^"'\r\n]{1,1024}["'](?:[ \t]{0,8},?[ \t\r\n]{0,8}["'][^"'\r\n]{1,1024}["'])?)`,
  'g',
)
/** `ACL SETUSER me on >secret ~*`, `user me on >secret` of a configuration. */
const rules = /(\b(?:SETUSER[ \t]+\S{1,256}|user[ \t]+\S{1,256}[ \t]+(?:on|off))[ \t])([^\r\n]{1,4096})/gi
const fields = /(\bH(?:M?SET|SETNX)[ \t]+\S{1,256}[ \t]+)([^\r\n]{3,4096})/g

/** Who follows AUTH in place of a secret: the name of the user that there always is, ways to prove who one is. */
const mechanism = /^(?:PLAIN|LOGIN|XOAUTH2?|OAUTHBEARER|CRAM-MD5|DIGEST-MD5|SCRAM-SHA-\S{1,16}|NTLM|GSSAPI|EXTERNAL|ANONYMOUS)$/i
/** What follows where people write about it. */
const prose = new Set(
  (
    'a an and are as at be been by called can cannot for from had has have if in into is it must no not of off on or said should that the then this ' +
    'to was were while will with without accepted denied disabled done enabled expired failed fails missing needed ok okay passed rejected required ' +
    'returned sent skipped started stopped succeeded successful supported timed unsupported used attempt attempts cache check code command commands ' +
    'config configuration cookie directive error errors event extension failure flow guard handler header headers layer mechanism mechanisms method ' +
    'middleware module option options parameter password policy provider request requests response role scope server service session setting ' +
    'settings state status step strategy success timeout token type user username users value values requirepass masterauth'
  ).split(' '),
)

export function hideInRedis(text: string, isSecret: (name: string) => boolean, replacement: string): string {
  const clean = /auth|requirepass/i.test(text) ? hideGiven(text, replacement) : text
  const ruled = clean.includes('>')
    ? clean.replaceAll(
        rules,
        (_, before: string, rest: string) =>
          before + rest.replaceAll(/((?:^|[ \t])[><])(?!=)[^\s"']+/g, (_, sign: string) => sign + replacement),
      )
    : clean
  return ruled.replaceAll(fields, (_, before: string, rest: string) => before + withoutFields(rest, isSecret, replacement))
}

/** From where on the items of a list that is a command are secrets: `['AUTH', 'me', '…']`, `['HELLO', '3', 'AUTH', 'me', '…']`. */
export function secretsBegin(list: readonly unknown[]): number {
  if (list[0] === 'AUTH') return list.length <= 3 ? 1 : Number.POSITIVE_INFINITY
  if (list[0] !== 'HELLO') return Number.POSITIVE_INFINITY
  return list[2] === 'AUTH' ? 3 : Number.POSITIVE_INFINITY
}

function hideGiven(text: string, replacement: string): string {
  return text
    .replaceAll(auth, (found, keyword: string, first: string, gap: string | undefined, second: string | undefined, offset: number) => {
      if (isProse(first)) return found
      const before = text.slice(Math.max(0, offset - 32), offset)
      const isLoud = keyword.startsWith('AUTH')
      const isCommand = beforeHello.test(before) || (isLoud && (offset === 0 || beforeCommand.test(before)))
      const isSecretOf = (word: string) => isCommand || looksSecret(word)
      if (first === 'default') return keyword + first + rest(gap, second, (word) => isLoud || isSecretOf(word))
      if (mechanism.test(first)) return keyword + first + rest(gap, second, isEncoded)
      if (!isLoud && !isCommand && found.length < text.trim().length) return found
      return keyword + (isSecretOf(first) ? masked(first) : first) + rest(gap, second, isSecretOf)
    })
    .replaceAll(setting, (_, keyword: string, first: string, gap: string | undefined, second: string | undefined) =>
      isProse(first)
        ? keyword + first + rest(gap, second, () => false)
        : keyword + masked(first) + rest(gap, second, () => /^auth/i.test(keyword)),
    )
    .replaceAll(quoted, (_, before: string, words: string) => before + words.replaceAll(/(["'])[^"'\r\n]+\1/g, masked))

  function rest(gap: string | undefined, word: string | undefined, hides: (word: string) => boolean): string {
    if (gap === undefined || word === undefined) return ''
    return gap + (isProse(word) || !hides(word) ? word : masked(word))
  }

  function masked(word: string): string {
    const quote = /^["']/.exec(word)?.[0] ?? ''
    return quote + replacement + quote
  }
}

/** A word of a sentence, or what stands for a value: `<password>`, `?`, `$1`, what is hidden already. */
function isProse(word: string): boolean {
  return prose.has(word.toLowerCase().replaceAll(/[^a-z]+$/g, '')) || /^(?:<[\w -]*>|\[|\?|\$\d|\*+$)/.test(word)
}

/** What no word of a sentence is: digits among letters, or signs; but no version and no address. */
function looksSecret(word: string): boolean {
  if (word.length < 6 || /^v?\d+(?:[.:]\d+)*\W?$/.test(word) || word.includes('://')) return false
  const inner = word.replaceAll(/^["']|["'.,;:!?)]+$/g, '')
  return (/\d/.test(inner) && /[A-Za-z]/.test(inner)) || /[^\p{L}\p{N}_./:-]/u.test(inner)
}

function isEncoded(word: string): boolean {
  return /^[A-Za-z0-9+/]{8,}={0,2}$/.test(word) && /[\d=]|[a-z][A-Z]/.test(word)
}

function withoutFields(rest: string, isSecret: (name: string) => boolean, replacement: string): string {
  let isHidden = false
  let isName = true
  return rest.replaceAll(/"(?:[^"\\]|\\.)*"|'[^']*'|[^\s"']+/g, (word) => {
    const shown = isName || !isHidden ? word : replacement
    if (isName) isHidden = isSecret(word)
    isName = !isName
    return shown
  })
}
