import { errorRatio, slos } from '@film-store/operations'

/** What became of an objective in the last thirty days; nothing where there were no events. */
export interface Kept {
  readonly name: string
  readonly title: string
  readonly objective: number
  readonly achieved?: number
  /** Of the errors that the objective allows, the share that is left; below zero it was missed. */
  readonly budgetLeft?: number
}

export function sloReport(prometheusUrl: string, signal?: AbortSignal): Promise<Kept[]> {
  return Promise.all(
    slos.map(async (slo) => {
      const { name, title, objective } = slo
      const answer = await fetch(`${prometheusUrl}/api/v1/query?query=${encodeURIComponent(errorRatio(slo, '30d'))}`, {
        signal: AbortSignal.any([AbortSignal.timeout(30_000), ...(signal ? [signal] : [])]),
      }).catch((cause: unknown) => {
        signal?.throwIfAborted()
        throw new Error(`Prometheus does not answer at ${prometheusUrl}: \`pnpm infra up --metrics\` starts it`, { cause })
      })
      const { status, data, error } = (await answer.json().catch((cause: unknown) => {
        throw new Error(`what answers at ${prometheusUrl} is no Prometheus: FILM_STORE_PROMETHEUS_PORT says where it is`, { cause })
      })) as {
        status: string
        data: { result: { value: [number, string] }[] }
        error?: string
      }
      if (status !== 'success') throw new Error(`Prometheus: ${error}`)
      const [found] = data.result
      if (found === undefined) return { name, title, objective }
      const errors = Number(found.value[1])
      return { name, title, objective, achieved: 1 - errors, budgetLeft: 1 - errors / (1 - objective) }
    }),
  )
}

export function printSloReport(kept: readonly Kept[]): string {
  const percent = (share: number | undefined, digits: number) => (share === undefined ? '–' : `${(share * 100).toFixed(digits)} %`)
  const lines = kept.map(({ title, objective, achieved, budgetLeft }) =>
    [title.padEnd(48), percent(objective, 1).padStart(8), percent(achieved, 3).padStart(10), percent(budgetLeft, 0).padStart(8)].join('  '),
  )
  return [
    `${'the last 30 days'.padEnd(48)}  ${'promised'.padStart(8)}  ${'kept'.padStart(10)}  ${'budget left'.padStart(8)}`,
    ...lines,
  ].join('\n')
}
