/** An application with TypeORM over the pool: an entity and a transaction of our own in one commit. */
import 'reflect-metadata'
import { strict as assert } from 'node:assert'
import { createDbPool, fromEntityManager, toTypeOrmDriver } from '@platform/db-pool'
import { DataSource, EntitySchema } from 'typeorm'

const table = `film_${process.pid}_${Date.now()}`
const Film = new EntitySchema({
  name: table,
  tableName: table,
  columns: { id: { type: 'int', primary: true }, title: { type: 'text' } },
})
const db = createDbPool({ url: process.env.DATABASE_URL })
const source = await new DataSource({ type: 'postgres', driver: toTypeOrmDriver(db), entities: [Film] }).initialize()
await source.synchronize()
await source.transaction(async (manager) => {
  await manager.save(table, { id: 1, title: 'Metropolis' })
  await fromEntityManager(manager).query(`insert into ${table} values ($1, $2)`, [2, 'Stalker'])
})
assert.equal(await source.getRepository(table).count(), 2)
await db.query(`drop table ${table}`)
await source.destroy()
await db.close()
console.log('TypeORM works')
