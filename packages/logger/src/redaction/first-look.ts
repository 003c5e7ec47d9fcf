/**
 * A first look at a text: whether any rule can find anything in it, and whether it is JSON between two quotes as it stands. Most texts of a line
 * (ids, methods, paths, messages) are, and are done after one pass, in half the time of a regular expression of all that.
 */
export type Look = 'plain' | 'to be escaped' | 'to be searched'

const usual = 0
const digit = 1
/** What stands between a name and a value. */
const sign = 2
/** What JSON writes in another way. */
const escaped = 3
const kinds = new Uint8Array(128)
for (let control = 0; control < 32; control++) kinds[control] = escaped
for (const each of '0123456789 -') kinds[each.charCodeAt(0)] = digit
for (const each of ':=%>"\'|') kinds[each.charCodeAt(0)] = sign
kinds['\\'.charCodeAt(0)] = escaped
/** Digits of a card with the signs between them. */
const cardLength = 19

const mask = (1 << 15) - 1
/** Three characters, in lower case, of every word and token that a rule looks for without such a sign. */
const grams = new Uint8Array(1 << 15)
const words =
  'bea sic eyj ghp gho ghs ghu ghr _pa glp xox xap k_l k_t whs npm pyp aki asi aiz ya2 hf_ sk- sg. hvs hvb _v1 shp .sl ebh ssw pwd epa rau uth eya w3s ls0 hse hms'
for (const each of [...words.split(' '), 'e k', 'w c', ...Array.from('0123456789abcdef', (hex) => `sk${hex}`)]) {
  grams[Array.from(each).reduce((hash, character) => next(hash, character.charCodeAt(0)), 0)] = 1
}

function next(hash: number, code: number): number {
  return ((hash << 5) ^ (code | 32)) & mask
}

export function firstLook(text: string): Look {
  let look: Look = 'plain'
  let hash = 0
  let digits = 0
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    const kind = code < 128 ? kinds[code] : kindOfWide(code)
    if (kind === usual) digits = 0
    else if (kind === escaped) {
      digits = 0
      look = 'to be escaped'
    }
    // A dash that begins a word begins an option.
    else if (kind === sign || ++digits >= cardLength || (code === 45 && (index === 0 || text.charCodeAt(index - 1) <= 32)))
      return 'to be searched'
    hash = next(hash, code)
    if (grams[hash] === 1) return 'to be searched'
  }
  return look
}

function kindOfWide(code: number): number {
  // Half a character may be one that stands alone.
  if (code >= 0xd800 && code <= 0xdfff) return escaped
  return code === 0xff1a || code === 0xff1d || code === 0x2192 ? sign : usual
}
