import { checkPublished } from './published/check.ts'
const { DATABASE_URL, REDIS_URL, AMQP_URL, CONSUL_URL } = process.env as Record<string, string>
console.time('all')
console.log(await checkPublished({ DATABASE_URL, REDIS_URL, AMQP_URL, CONSUL_URL } as never))
console.timeEnd('all')
