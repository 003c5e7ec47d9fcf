import { GatewayError } from './errors.ts'

/** A piece of an argument: a text that means itself, or a variable of nginx. */
export type Piece = string | { readonly variable: string }

/**
 * One argument. A list of pieces is for directives in which nginx replaces variables: a `$` of a text stays one there. `{ raw }` is for those in
 * which it does not (patterns, keys of maps, names, paths of files), `{ word }` for words of nginx's own, which this program wrote.
 */
export type Argument = readonly Piece[] | { readonly raw: string } | { readonly word: string }

export interface Directive {
  readonly name: string
  readonly args: readonly Argument[]
  readonly block?: readonly Directive[]
}

/** nginx has no way to escape a `$`: this variable holds one (`dollarDirective`). */
const dollar = 'platform_dollar'

export const dollarDirective: Directive = {
  name: 'geo',
  args: [{ word: `$${dollar}` }],
  block: [{ name: 'default', args: [{ raw: '$' }] }],
}

export function variable(name: string): Piece {
  return { variable: name }
}

/** `directive('listen', 8080, ['unix:', …])`: numbers and words of nginx's own stand bare. */
export function directive(name: string, ...args: readonly (Argument | number)[]): Directive {
  return { name, args: args.map((arg) => (typeof arg === 'number' ? { word: String(arg) } : arg)) }
}

export function block(name: string, args: readonly Argument[], directives: readonly Directive[]): Directive {
  return { name, args, block: directives }
}

export const word = (text: string): Argument => ({ word: text })
export const raw = (text: string): Argument => ({ raw: text })

export function printDirectives(directives: readonly Directive[], indent: string = ''): string {
  return directives.map((each) => printDirective(each, indent)).join('')
}

function printDirective({ name, args, block: inner }: Directive, indent: string): string {
  // A name that is not a word is the key of a map.
  const head = [/^[a-z_]+$/.test(name) ? name : quoted(name), ...args.map(printArgument)].join(' ')
  if (inner === undefined) return `${indent}${head};\n`
  return `${indent}${head} {\n${printDirectives(inner, `${indent}  `)}${indent}}\n`
}

function printArgument(argument: Argument): string {
  if ('word' in argument) {
    if (!/^[\w$.:/=@~^*+,%[\]|()!-]+$/.test(argument.word)) throw unprintable(argument.word)
    return argument.word
  }
  if ('raw' in argument) return quoted(argument.raw)
  return `"${argument.map(printPiece).join('')}"`
}

function printPiece(piece: Piece): string {
  if (typeof piece === 'string') return escaped(piece).replaceAll('$', `\${${dollar}}`)
  // Captures have no form with braces.
  return /^\d$/.test(piece.variable) ? `$${piece.variable}` : `\${${piece.variable}}`
}

function quoted(text: string): string {
  return `"${escaped(text)}"`
}

/** nginx takes a backslash away before quotes and backslashes, and reads `\n`, `\r` and `\t`: each backslash is doubled, and a tab is written so. */
function escaped(text: string): string {
  if (/(?!\t)[\p{Cc}\u2028\u2029]/u.test(text) || !text.isWellFormed()) throw unprintable(text)
  return text.replaceAll(/[\\"]/g, '\\$&').replaceAll('\t', '\\t')
}

/** The schema refuses such texts; this holds if it ever does not. */
function unprintable(text: string): GatewayError {
  return new GatewayError('ERR_GATEWAY_NGINX', `a text of ${text.length} characters cannot be written for nginx`)
}
