-- HAProxy asks Battery Gate: the action battery_ask.
--
-- Written by `batterygate gateway gen haproxy`; run it again when apps come or go.
-- It goes to /etc/haproxy/battery-gate.lua, which haproxy.cfg loads. It needs
-- HAProxy 2.6 or later, built with Lua, and nothing else.

local DOOR = "http://batterygate:8081/authz/forward-auth"
local TIMEOUT = 500   -- milliseconds to wait; HAProxy 2.6 asks up to four times before it gives up

-- What the app learns. Set on every request, empty if unknown.
local IDENTITY = {
    "x-battery-user-id",
    "x-battery-org-id",
    "x-battery-user-email",
    "x-battery-roles",
    "x-battery-app-id",
    "x-battery-decision-id",
    "x-battery-groups",
    "x-battery-assertion",
    "x-plan",
}

-- Headers of a connection, not of a request.
local HOP = {
    ["connection"] = true, ["keep-alive"] = true, ["proxy-connection"] = true, ["proxy-authorization"] = true,
    ["te"] = true, ["trailer"] = true, ["transfer-encoding"] = true, ["upgrade"] = true, ["expect"] = true,
    ["content-length"] = true, ["host"] = true, ["x-forwarded-method"] = true, ["x-forwarded-uri"] = true,
    ["x-forwarded-host"] = true, ["x-forwarded-proto"] = true, ["x-forwarded-for"] = true,
}

-- What Battery Gate's gateway.shared_secret_file holds, read once at the start,
-- before HAProxy gives up its rights.
local file = assert(io.open("/run/secrets/battery-gateway", "r"))
local SECRET = file:read("a"):gsub("%s+$", "")
file:close()

-- all lists the values of a header as HAProxy holds them: counted from 0.
local function all(values)
    local out = {}
    local i = 0
    while values[i] ~= nil do
        out[#out + 1] = values[i]
        i = i + 1
    end
    return out
end

-- question is the headers that the door gets: the client's own, which it must
-- see to refuse forged ones, and the request it is asked about.
local function question(txn)
    local headers = {}
    local given = txn.http:req_get_headers()
    for name, values in pairs(given) do
        if not HOP[name] then headers[name] = all(values) end
    end
    -- Two hosts are two values here, which the door refuses.
    headers["x-forwarded-host"] = given["host"] and all(given["host"]) or {}
    headers["x-forwarded-method"] = { txn.sf:method() }
    headers["x-forwarded-proto"] = { "https" }
    headers["x-forwarded-uri"] = { txn.sf:pathq() }
    headers["x-forwarded-for"] = { txn.sf:src() }
    headers["x-battery-gateway-secret"] = { SECRET }
    return headers
end

-- without_ours is a Cookie header without the cookies that are ours.
local function without_ours(cookie)
    local kept = {}
    for pair in string.gmatch(cookie, "[^;]+") do
        local name = string.match(pair, "^%s*([^=]*)")
        if not string.match(name, "^battery_") and not string.match(name, "^__Host%-battery_") then
            kept[#kept + 1] = string.gsub(pair, "^%s+", "")
        end
    end
    return table.concat(kept, "; ")
end

-- allow sets what the app learns and takes away what is not its business.
local function allow(txn, answer)
    for _, name in ipairs(IDENTITY) do
        local values = answer.headers[name]
        txn.http:req_set_header(name, values and values[0] or "")
    end
    local cookies = txn.http:req_get_headers()["cookie"]
    if cookies ~= nil then
        local kept = without_ours(table.concat(all(cookies), "; "))
        if kept == "" then
            txn.http:req_del_header("cookie")
        else
            txn.http:req_set_header("cookie", kept)
        end
    end
    txn:set_var("txn.battery_allowed", true)
end

-- refuse hands the door's answer to the client as it is: status, Location, every
-- Set-Cookie, body.
local function refuse(txn, answer)
    local reply = txn:reply()
    reply:set_status(answer.status, answer.reason)
    for name, values in pairs(answer.headers) do
        if not HOP[name] then
            for _, value in ipairs(all(values)) do reply:add_header(name, value) end
        end
    end
    if txn.sf:method() ~= "HEAD" then reply:set_body(answer.body or "") end
    txn:done(reply)
end

core.register_action("battery_ask", { "http-req" }, function(txn)
    txn:set_var("txn.battery_allowed", false)
    local answer = core.httpclient():get{ url = DOOR, headers = question(txn), timeout = TIMEOUT }
    if answer == nil or answer.status == nil then return end
    if answer.status == 200 then
        allow(txn, answer)
    elseif answer.status >= 300 and answer.status < 500 then
        refuse(txn, answer)
    end
    -- Anything else lets nothing pass: haproxy.cfg denies with 503.
end)
