/** An alert as Alertmanager holds it. */
export interface HeldAlert {
  readonly labels: Readonly<Record<string, string>>
  readonly receivers: readonly { readonly name: string }[]
}

export type Labels = Readonly<Record<string, string>>

const matches = ({ labels }: HeldAlert, wanted: Labels) => Object.entries(wanted).every(([label, value]) => labels[label] === value)

/** Firing alerts that carry these labels; those that another one inhibits as well. */
export async function firing(url: string, wanted: Labels): Promise<HeldAlert[]> {
  const answer = await fetch(`${url}/api/v2/alerts`, { signal: AbortSignal.timeout(5_000) })
  if (!answer.ok) throw new Error(`Alertmanager answers ${answer.status}`)
  return ((await answer.json()) as HeldAlert[]).filter((alert) => matches(alert, wanted))
}
