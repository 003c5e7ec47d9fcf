/** The official images, by server. Another tag of the same image is the option `image` of each start. */
export const images = {
  postgres: 'postgres:17',
  redis: 'redis:8',
  rabbitmq: 'rabbitmq:4-management',
  consul: 'hashicorp/consul:1.20',
  nginx: 'nginx:1.30',
} as const
