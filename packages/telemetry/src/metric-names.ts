/** Units of UCUM as words. https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/ */
const units: Readonly<Record<string, string>> = {
  d: 'days',
  h: 'hours',
  min: 'minutes',
  s: 'seconds',
  ms: 'milliseconds',
  us: 'microseconds',
  ns: 'nanoseconds',
  By: 'bytes',
  KiBy: 'kibibytes',
  MiBy: 'mebibytes',
  GiBy: 'gibibytes',
  TiBy: 'tibibytes',
  KBy: 'kilobytes',
  MBy: 'megabytes',
  GBy: 'gigabytes',
  TBy: 'terabytes',
  m: 'meters',
  V: 'volts',
  A: 'amperes',
  J: 'joules',
  W: 'watts',
  g: 'grams',
  Cel: 'celsius',
  Hz: 'hertz',
  '%': 'percent',
}
const perUnits: Readonly<Record<string, string>> = { s: 'second', m: 'minute', h: 'hour', d: 'day', w: 'week', mo: 'month', y: 'year' }

export type FamilyType = 'counter' | 'gauge' | 'histogram'

/** The family's name without `_total`. */
export function familyName(name: string, unit: string, type: FamilyType): string {
  let result = clean(name)
  if (type === 'counter' && result.endsWith('_total')) result = result.slice(0, -'_total'.length)
  const suffix = unitSuffix(unit, type)
  return suffix === '' || result.endsWith(`_${suffix}`) || result === suffix ? result : `${result}_${suffix}`
}

function unitSuffix(unit: string, type: FamilyType): string {
  const bare = unit.replaceAll(/\{[^}]*\}/g, '').trim()
  if (bare === '1') return type === 'gauge' ? 'ratio' : ''
  const slash = bare.indexOf('/')
  if (slash < 0) return word(bare)
  const per = bare.slice(slash + 1)
  const over = per === '' ? '' : `per_${perUnits[per] ?? clean(per)}`
  return [word(bare.slice(0, slash)), over].filter((part) => part !== '').join('_')
}

function word(unit: string): string {
  return units[unit] ?? clean(unit).replaceAll(/^_+|_+$/g, '')
}

function clean(name: string): string {
  const valid = name.replaceAll(/[^a-zA-Z0-9_:]+/g, '_').replaceAll(/__+/g, '_')
  return valid === '' || /^\d/.test(valid) ? `_${valid}` : valid
}

/** Names that begin with two underscores are the server's own, and `le` is a histogram's. */
export function labelName(key: string, isHistogram: boolean): string {
  const valid = key.replaceAll(/[^a-zA-Z0-9_]/g, '_')
  if (valid.startsWith('__') || (isHistogram && valid === 'le')) return `attribute_${valid.replace(/^_+/, '')}`
  return valid === '' || /^\d/.test(valid) ? `_${valid}` : valid
}
