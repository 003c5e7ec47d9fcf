import { hideInRedis } from './redis-commands.ts'

type IsSecret = (name: string) => boolean

const inQuotes = String.raw`"(?:[^"\\]|\\.){0,4096}"|'[^']{0,4096}'`
const value = String.raw`${inQuotes}|[^\s"'-][^\s]{0,4095}`
/** `--password value`, `-Password "value"`, `/password:value` is read as a name with a colon. */
const option = new RegExp(String.raw`((?:^|(?<=[\s"'([{,]))--?[A-Za-z][\w-]{1,63}(?:[ \t]*\\\r?\n[ \t]*|[ \t]+))(${value})`, 'g')
/** `-u user:password`, `--user=user:password`, `--proxy-user "user:password"`. */
const user = /((?:^|(?<=\s))(?:-[A-Za-z]{0,8}[uU]|--(?:proxy-)?user)(?:=|[ \t]*)["']?)([^\s:"'/]{0,256}):([^\s"'/][^\s"']{0,1024})/g

/** The same in quotes, where the password may hold blanks. */
const quotedUser =
  /((?:^|(?<=\s))(?:-[A-Za-z]{0,8}[uU]|--(?:proxy-)?user)(?:=|[ \t]*)(["'])([^\s:"'/]{0,256}):)((?:(?!\2)[^\r\n]){1,1024})(?=\2)/g

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
  ['sqlcmd', short('P', '[ \\t]*')],
  ['az login', short('p', '[ \\t]+')],
  ['curl', short('b', '[ \\t]*')],
  ['zip ', short('P', '[ \\t]+')],
]
/** Commands that take a secret as their last word: of a `.netrc`, of SQL, of MongoDB's shell. */
const commands: readonly RegExp[] = [
  new RegExp(String.raw`(\blogin[ \t\r\n]+\S{1,256}[ \t\r\n]+password[ \t]+)(${value})`, 'g'),
  new RegExp(String.raw`(\bIDENTIFIED[ \t]+(?:WITH[ \t]+\S{1,64}[ \t]+)?BY[ \t]+)(${value})`, 'gi'),
  new RegExp(String.raw`(\bSET PASSWORD FOR[^=\r\n]{1,300}=[ \t]*)(${value})`, 'gi'),
  new RegExp(String.raw`(\b(?:PASSWORD|[Cc]rypt|CRYPT)\([ \t]*)(${inQuotes})`, 'g'),
  new RegExp(String.raw`(\.auth\([ \t]*["'][^"'\r\n]{1,128}["'][ \t]*,[ \t]*)(${inQuotes})`, 'g'),
]
/** `ENV DB_PASSWORD x`, `proxy_set_header X-Api-Key "x"`, and the pairs of Erlang and Elixir, `{password, <<"x">>}`. */
const named: readonly RegExp[] = [
  new RegExp(
    String.raw`(\b(?:ENV|setx|setenv|SetEnv|proxy_set_header|add_header|fastcgi_param)[ \t]+)([\w.-]{1,128})([ \t]+)(${value})`,
    'g',
  ),
  new RegExp(String.raw`(\{[ \t]?:?)([A-Za-z_]\w{0,63})([ \t]?,[ \t]?(?:<<)?)(${inQuotes})`, 'g'),
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
    clean = clean.replaceAll(quotedUser, (found, before: string, _, name: string, secret: string) =>
      /^\d*$/.test(name) && /^\d+$/.test(secret) ? found : before + replacement,
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
  for (const pattern of named)
    clean = clean.replaceAll(pattern, (found, before: string, name: string, gap: string, given: string) =>
      isSecret(name) ? before + name + gap + masked(given, replacement) : found,
    )
  return hideInRedis(clean, isSecret, replacement)
}

function masked(given: string, replacement: string): string {
  const quote = /^["']/.exec(given)?.[0] ?? ''
  return quote + replacement + quote
}
