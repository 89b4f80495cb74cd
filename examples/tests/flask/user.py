from flask import Flask, session

app = Flask(__name__)
app.secret_key = 'secret_key'

@app.route('/login')
def login():
    session['username'] = 'john_doe'
    session['email'] = 'john.doe@example.com'
    return 'Logged in successfully'

@app.route('/get_user_data')
def get_user_data():
    return str(session)
