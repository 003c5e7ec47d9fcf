/** PCRE in the file: what nginx takes, said before nginx is asked, as far as it can be told without it. */

/** Undefined when it is well-formed in JavaScript's reading too, which a careful PCRE is; else what is wrong. `nginx -t` has the last word. */
export function isPcre(pattern: string): string | undefined {
  if (/\(\?(?:[<P'&RC|>+-]|\d)(?![=!])/.test(pattern)) return 'named groups, recursion and atomic groups are not taken'
  try {
    new RegExp(pattern, 'u')
    return undefined
  } catch (error) {
    return `is not a regular expression: ${(error as Error).message.slice(0, 200)}`
  }
}

/** Whether whatever the expression matches begins with the prefix, told from its literal beginning `^/films/`. */
export function regexTouches(pattern: string, prefix: string): boolean {
  const literal = /^\^((?:[\w/-]|\\\.)*)/.exec(pattern)?.[1]?.replaceAll('\\.', '.') ?? ''
  // What may be repeated or left out is no certain beginning.
  const certain = /[*?{]/.test(pattern.charAt(1 + literal.length)) ? literal.slice(0, -1) : literal
  if (pattern.includes('|')) return false
  return certain.startsWith(`${prefix}/`)
}
