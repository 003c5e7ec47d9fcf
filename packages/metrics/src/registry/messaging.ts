/** Written by `node scripts/check-generated.ts --write` from the code and the pages of the packages; not by hand. */
export const messaging = {
  'messaging.client.consumed.messages': {
    kind: 'counter',
    unit: '{message}',
    description: 'Messages delivered to a handler',
    owners: ['queue'],
    prometheus: 'messaging_client_consumed_messages',
    labels: {
      'messaging.system': 'messaging_system',
      'messaging.destination.name': 'messaging_destination_name',
      'messaging.consumer.group.name': 'messaging_consumer_group_name',
    },
  },
  'messaging.client.operation.duration': {
    kind: 'histogram',
    unit: 's',
    description: 'Time of publish and settle calls',
    owners: ['queue'],
    prometheus: 'messaging_client_operation_duration_seconds',
    labels: {
      'messaging.system': 'messaging_system',
      'messaging.destination.name': 'messaging_destination_name',
      'messaging.consumer.group.name': 'messaging_consumer_group_name',
      'messaging.operation.name': 'messaging_operation_name',
      'error.type': 'error_type',
    },
  },
  'messaging.client.sent.messages': {
    kind: 'counter',
    unit: '{message}',
    description: 'Messages handed to the broker',
    owners: ['queue'],
    prometheus: 'messaging_client_sent_messages',
    labels: {
      'messaging.system': 'messaging_system',
      'messaging.destination.name': 'messaging_destination_name',
      'messaging.operation.name': 'messaging_operation_name',
      'error.type': 'error_type',
    },
  },
  'messaging.process.duration': {
    kind: 'histogram',
    unit: 's',
    description: 'Time in the handler',
    owners: ['queue'],
    prometheus: 'messaging_process_duration_seconds',
    labels: {
      'messaging.system': 'messaging_system',
      'messaging.destination.name': 'messaging_destination_name',
      'messaging.consumer.group.name': 'messaging_consumer_group_name',
      'error.type': 'error_type',
    },
  },
} as const
