type IsSecret = (name: string) => boolean

const value = String.raw`"(?:[^"\\]|\\.){0,4096}"|'[^']{0,4096}'|[^\s"'-][^\s]{0,4095}`
/** `--password value`, `-Password "value"`, `/password:value` is read as a name with a colon. */
const option = new RegExp(String.raw`((?:^|(?<=[\s"'([{,]))--?[A-Za-z][\w-]{1,63}(?:[ \t]*\\\r?\n[ \t]*|[ \t]+))(${value})`, 'g')
/** `-u user:password`, `--user=user:password`, `--proxy-user "user:password"`. */
const user = /((?:^|(?<=\s))(?:-[A-Za-z]{0,8}[uU]|--(?:proxy-)?user)(?:=|[ \t]*)["']?)([^\s:"'/]{0,256}):([^\s"'/][^\s"']{0,1024})/g

/** Options of one letter that hold a password, by the program in front. */
const letters: readonly (readonly [program: string, option: RegExp])[] = [
  ['mysql', short('p', '')],
  ['mariadb', short('p', '')],
  ['sshpass', short('p', '[ \\t]*')],
  ['docker login', short('p', '[ \\t]+')],
  ['podman login', short('p', '[ \\t]+')],
  ['mongo', short('p', '[ \\t]+')],
  ['redis-cli', short('a', '[ \\t]+')],
  ['ldapsearch', short('w', '[ \\t]*')],
]
/** Commands that take a secret as their last word: of Redis, of a `.netrc`, of SQL. */
const commands: readonly RegExp[] = [
  new RegExp(String.raw`(\b(?:requirepass|masterauth)[ \t]+)(${value})`, 'gi'),
  new RegExp(String.raw`((?:^|(?<=[\r\n"'])|(?<=[\d:] ))AUTH[ \t]+(?:[^\s"']{1,128}[ \t]+)?)(${value})`, 'g'),
  new RegExp(String.raw`(\blogin[ \t\r\n]+\S{1,256}[ \t\r\n]+password[ \t]+)(${value})`, 'g'),
  new RegExp(String.raw`(\bIDENTIFIED[ \t]+(?:WITH[ \t]+\S{1,64}[ \t]+)?BY[ \t]+)(${value})`, 'gi'),
]

function short(letter: string, gap: string): RegExp {
  return new RegExp(String.raw`((?<=\s)-${letter}${gap})(${value})`, 'g')
}

/** What is given to programs: options under a secret name, users with their password, and the few that have no name. */
export function hideInCommands(text: string, isSecret: IsSecret, replacement: string): string {
  let clean = text
  if (clean.includes('-')) {
    clean = clean.replaceAll(option, (found, name: string, given: string) =>
      isSecret(name.replaceAll(/^-+|[\s\\]+$/g, '')) ? name + masked(given, replacement) : found,
    )
    clean = clean.replaceAll(user, (found, before: string, name: string, secret: string) =>
      // `-u 1000:1000` is a user and a group.
      /^\d*$/.test(name) && /^\d+$/.test(secret) ? found : `${before}${name}:${replacement}`,
    )
    for (const [program, pattern] of letters) {
      if (clean.includes(program))
        clean = clean.replaceAll(pattern, (_, before: string, given: string) => before + masked(given, replacement))
    }
  }
  for (const pattern of commands)
    clean = clean.replaceAll(pattern, (_, before: string, given: string) => before + masked(given, replacement))
  return clean
}

function masked(given: string, replacement: string): string {
  const quote = /^["']/.exec(given)?.[0] ?? ''
  return quote + replacement + quote
}
