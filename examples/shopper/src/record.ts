/** What customers sent and what they saw: the books' own source, beside what the databases say. Moments are milliseconds since 1970. */
export interface PageView {
  readonly filmId: number
  /** To be compared with the database's commit times on the same machine. */
  readonly askedAt: number
  readonly answeredAt: number
  /** The page as it came. */
  readonly page: unknown
}

export interface SearchView {
  readonly word: string
  /** What was found, as it came. */
  readonly answer: unknown
}

export interface AcceptedOrder {
  /** The idempotency key that was sent. */
  readonly key: string
  /** The number that was answered. */
  readonly orderId: string
  readonly filmId: number
  readonly quantity: number
  /** The order as it was shown to the customer. */
  readonly answer: unknown
}

export type Errand = 'orders' | 'pages' | 'searches'

export interface Recorded {
  readonly views: readonly PageView[]
  readonly accepted: readonly AcceptedOrder[]
  readonly searches: readonly SearchView[]
  /** Answers that a customer should not have got, and those that never came, a line each. */
  readonly unexpected: readonly string[]
  /** How often customers set out for something, whatever came of it. */
  readonly asked: Readonly<Record<Errand, number>>
}
