# The worker as a static binary in an image without a shell, for a user that is
# not root. The base can be exchanged; it needs CA certificates and time zones.
ARG BASE=gcr.io/distroless/static-debian12:nonroot

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/tidemill ./cmd/tidemill \
 && mkdir -p /out/state

FROM ${BASE}
COPY --from=build /out/tidemill /usr/local/bin/tidemill
COPY --from=build --chown=65532:65532 /out/state /var/lib/tidemill
COPY deploy/connect-distributed.properties /etc/tidemill/connect-distributed.properties
USER 65532:65532
EXPOSE 8083
ENTRYPOINT ["/usr/local/bin/tidemill"]
CMD ["worker", "-c", "/etc/tidemill/connect-distributed.properties"]
