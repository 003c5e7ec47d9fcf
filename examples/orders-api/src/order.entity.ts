import { Column, Entity, PrimaryColumn } from 'typeorm'

@Entity({ name: 'orders' })
export class Order {
  @PrimaryColumn({ type: 'uuid' })
  id!: string

  @Column({ type: 'text', name: 'idempotency_key' })
  idempotencyKey!: string

  @Column({ type: 'int', name: 'film_id' })
  filmId!: number

  @Column({ type: 'int' })
  quantity!: number

  @Column({ type: 'int', name: 'price_cents' })
  priceCents!: number

  @Column({ type: 'text', default: 'placed' })
  status!: 'placed' | 'fulfilled' | 'rejected'

  @Column({ type: 'timestamptz', name: 'placed_at', insert: false, update: false })
  placedAt!: Date

  @Column({ type: 'timestamptz', name: 'settled_at', nullable: true, insert: false, update: false })
  settledAt!: Date | null
}
