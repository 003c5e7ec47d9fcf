/** Where Nest finds what is not a class of its own. */
export const OUTBOX = Symbol('OUTBOX')
export const SHOP = Symbol('SHOP')
