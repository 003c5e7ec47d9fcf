import { optionError } from '../errors.ts'

/** The error of `URL` carries its whole input, an administrator's password included; drivers take a wrong one for an address of their own. */
export function urlOf(option: string, text: string, protocols: readonly string[]): URL {
  const url = URL.parse(text)
  if (url === null) throw optionError(option, 'a URL; in its name and password the characters # / ? @ : % are percent-encoded')
  if (!protocols.includes(url.protocol)) throw optionError(option, `a URL that begins with ${protocols.join('// or ')}//`)
  try {
    decodeURIComponent(url.username + url.password)
  } catch {
    throw optionError(option, 'a URL in whose name and password a % begins an escape: % itself is %25')
  }
  return url
}
