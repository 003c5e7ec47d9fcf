/** What nginx asks the verifier, and nothing else: each part is one that `verifyLocation` prints, in its order. */
import { verifyPath } from '../compile/names.ts'
import { verdictHeaders } from '../headers.ts'
import type { Question } from './verifier.ts'

/** nginx itself takes 32 KiB of headers. */
export const longestQuestion = 65_536

const start = `GET ${verifyPath} HTTP/1.1\r\nHost: verifier\r\n${verdictHeaders.route}: `
const addressName = `${verdictHeaders.clientAddress}: `
const tokenName = 'Authorization: '
const end = '\r\n\r\n'

/** Undefined: not the end yet. Throws on what nginx would not have sent. */
export function readQuestion(text: string): Question | undefined {
  if (!text.startsWith(start.slice(0, text.length))) throw new Error('no question of nginx')
  const last = text.indexOf(end)
  if (last === -1) {
    if (text.length > longestQuestion) throw new Error('a question that does not end')
    return undefined
  }
  if (last + end.length !== text.length) throw new Error('more than one question at a time')
  const [route = '', address, token, ...more] = text.slice(start.length, last).split('\r\n')
  if (address?.startsWith(addressName) !== true || token?.startsWith(tokenName) === false || more.length > 0) {
    throw new Error('a header that nginx was not told to send')
  }
  return { route, address: address.slice(addressName.length), authorization: token?.slice(tokenName.length) }
}
