import { db } from './registry/db.ts'
import { http } from './registry/http.ts'
import { messaging } from './registry/messaging.ts'
import { nodejs } from './registry/nodejs.ts'
import { platformCache } from './registry/platform-cache.ts'
import { platformConfig } from './registry/platform-config.ts'
import { platformDbPool } from './registry/platform-db-pool.ts'
import { platformDiscovery } from './registry/platform-discovery.ts'
import { platformGateway } from './registry/platform-gateway.ts'
import { platformHealth } from './registry/platform-health.ts'
import { platformLogger } from './registry/platform-logger.ts'
import { platformQueue } from './registry/platform-queue.ts'
import { platformResilience } from './registry/platform-resilience.ts'
import { platformService } from './registry/platform-service.ts'
import { platformTelemetry } from './registry/platform-telemetry.ts'
import { process } from './registry/process.ts'
import { v8js } from './registry/v8js.ts'

/** Every metric of the packages. Written by `node scripts/check-generated.ts --write` from the code and the pages of the packages; not by hand. */
export const registry: typeof db &
  typeof http &
  typeof messaging &
  typeof nodejs &
  typeof platformCache &
  typeof platformConfig &
  typeof platformDbPool &
  typeof platformDiscovery &
  typeof platformGateway &
  typeof platformHealth &
  typeof platformLogger &
  typeof platformQueue &
  typeof platformResilience &
  typeof platformService &
  typeof platformTelemetry &
  typeof process &
  typeof v8js = {
  ...db,
  ...http,
  ...messaging,
  ...nodejs,
  ...platformCache,
  ...platformConfig,
  ...platformDbPool,
  ...platformDiscovery,
  ...platformGateway,
  ...platformHealth,
  ...platformLogger,
  ...platformQueue,
  ...platformResilience,
  ...platformService,
  ...platformTelemetry,
  ...process,
  ...v8js,
}
