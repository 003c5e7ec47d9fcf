/** Between half of the time and all of it, so that many processes do not come at once. */
export function jittered(ms: number): number {
  return ms * (0.5 + Math.random() / 2)
}
