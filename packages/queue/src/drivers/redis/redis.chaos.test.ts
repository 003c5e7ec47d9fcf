import { startRedis } from '@platform/stack'
import { describeOutages, frozenClose, usualFaults } from '../../testing/outages.fixture.ts'

const settings = { appendfsync: 'always' }

describeOutages('redis', { start: () => startRedis({ fresh: true, durable: true, settings }) }, usualFaults, frozenClose)
