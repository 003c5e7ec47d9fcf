/** Whether every store takes the text as it is: well-formed Unicode without NUL (PostgreSQL refuses both, Redis and JSON change the first). */
export function isStorableText(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0')
}
