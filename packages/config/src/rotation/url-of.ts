import { optionError } from '../errors.ts'

/** The error of `URL` carries its whole input, an administrator's password included. */
export function urlOf(option: string, text: string): URL {
  if (!URL.canParse(text)) throw optionError(option, 'a URL; in its name and password the characters # / ? @ : % are percent-encoded')
  return new URL(text)
}
