import { docker } from '../../packages/stack/src/compose.ts'

/** Prints and counts; `work` answers with what it found and fails by throwing. */
export type Check = (what: string, work: () => Promise<string> | string) => Promise<boolean>

export const counts = { passed: 0, failed: 0 }

export const check: Check = async (what, work) => {
  try {
    console.log(` ok  ${what}: ${await work()}`)
    counts.passed++
    return true
  } catch (error) {
    console.log(`FAIL ${what}: ${(error as Error).message}`)
    counts.failed++
    return false
  }
}

export function must(faults: readonly string[], detail: string): string {
  if (faults.length > 0) throw new Error(faults.join('; '))
  return detail
}

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

/** Of projects whose names begin so. */
export async function leavesNothing(prefix: string): Promise<string> {
  const names = ['--filter', `name=^/?${prefix}`, '--format']
  const [containers, volumes, networks] = await Promise.all([
    docker(['ps', '--all', ...names, '{{.Names}}']),
    docker(['volume', 'ls', ...names, '{{.Name}}']),
    docker(['network', 'ls', ...names, '{{.Name}}']),
  ])
  return must(`${containers}${volumes}${networks}`.split('\n').filter(Boolean), 'no container, volume or network')
}
