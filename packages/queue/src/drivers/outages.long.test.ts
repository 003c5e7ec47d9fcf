import { startPostgres, startRabbitmq, startRedis } from '@platform/stack'
import { describeOutages, longOutage, poisonInOrder, type FragileServer } from '../testing/outages.fixture.ts'

const settings = { appendfsync: 'always' }
const settle = (server: FragileServer): Promise<void> => server.restart()

describeOutages('postgres', { start: () => startPostgres({ fresh: true }) }, poisonInOrder, longOutage)
describeOutages('redis', { start: () => startRedis({ fresh: true, durable: true, settings }) }, poisonInOrder, longOutage)
describeOutages('rabbitmq', { start: () => startRabbitmq({ fresh: true }), settle }, longOutage)
