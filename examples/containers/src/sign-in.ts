/** A token of the customer's, good for an hour, from behind the door. */
export async function signIn(shopUrl: string, customer: string): Promise<string> {
  const answer = await fetch(`${shopUrl}/tokens?customer=${encodeURIComponent(customer)}`, {
    method: 'POST',
    signal: AbortSignal.timeout(30_000),
  })
  if (!answer.ok) throw new Error(`nobody is signed in: ${answer.status} ${await answer.text()}`)
  return ((await answer.json()) as { token: string }).token
}
