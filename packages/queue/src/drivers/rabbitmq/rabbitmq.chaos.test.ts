import { startRabbitmq } from '@platform/stack'
import { describeOutages, frozenClose, poisonInOrder, usualFaults, type FragileServer } from '../../testing/outages.fixture.ts'

const start = () => startRabbitmq({ fresh: true })
// RabbitMQ writes a new quorum queue's metadata seconds after it was declared; what a clean end has written outlives a kill.
const settle = (server: FragileServer) => server.restart()

describeOutages('rabbitmq', { start, settle }, usualFaults, frozenClose, poisonInOrder)
