export type { Pace } from './pace.ts'
export { createRandom, type Random } from './random.ts'
export { type AcceptedOrder, type PageView, shop, type ShopOptions, type Traffic } from './shop.ts'
export { createShopfront } from './shopfront.ts'
