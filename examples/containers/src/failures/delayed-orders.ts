import { type Compose, psql } from '../psql.ts'

interface Delaying {
  readonly compose: Compose
  readonly order: (count: number) => Promise<void>
}

/** At the moment of a lock two orders are on their way: that of the customer who is always there, and one of these. */
const ordersBetweenLocks = 100
/** Above the half second in which an order should be answered. */
const lockedSeconds = 0.9
/** So many good answers outweigh the slow ones before them, if the machine is quick enough; otherwise time does. */
const ordersAfterwards = 1_000
const atOnceAfterwards = 2
const session = 'rehearsal of delays'

/** Waits until so many orders were placed, locks them for a moment, and again, for ten minutes at most. */
const delay = `
do $$
declare
  ends constant timestamptz := clock_timestamp() + interval '10 minutes';
  after bigint := (select count(*) from orders) + ${ordersBetweenLocks};
begin
  while clock_timestamp() < ends loop
    commit;
    perform pg_sleep(0.05);
    continue when (select count(*) from orders) < after;
    commit;
    lock table orders in exclusive mode;
    perform pg_sleep(${lockedSeconds});
    after := (select count(*) from orders) + ${ordersBetweenLocks};
  end loop;
end $$`
const end = `select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = '${session}'`

/** Two orders of a hundred are answered late, all the others in time. Resolves with what ends that, and outweighs what was late. */
export async function delayOrders({ compose, order }: Delaying): Promise<() => Promise<void>> {
  const sql = (...texts: string[]) => psql(compose, 'postgres', 'orders', ...texts)
  let isOn = true
  // It ends when it is told to, which is no end that psql likes.
  const delaying = sql(`set application_name = '${session}'`, delay).then(
    () => new Error('orders were delayed for ten minutes and nobody said stop'),
    (error: Error) => error,
  )
  const ordering = (async () => {
    while (isOn) await order(1)
  })()
  return async () => {
    isOn = false
    const ended = await sql(end)
    const why = await delaying
    await ordering
    if (ended !== '1') throw new Error(`orders were not delayed: ${why.message}`, { cause: why })
    for (let placed = 0; placed < ordersAfterwards; placed += atOnceAfterwards) await order(atOnceAfterwards)
  }
}
